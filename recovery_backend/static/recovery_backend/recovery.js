// What HTML cannot do alone: count down, copy and print, take codes off the page, hide what is
// typed, follow an e-mail, and submit a form once.

const language = document.documentElement.lang || undefined;
const MILESTONES = [10, 30]; // seconds; whole minutes are announced as well
const AVAILABLE = [600, 300, 60, 30]; // seconds left at which the end of the codes is announced
const SETTLE_MS = 1500; // a browser that disables a button at once may drop the download

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (match, name) => values[name] ?? match);
}

function spoken(seconds) {
  const unit = seconds < 60 ? "second" : "minute";
  const number = seconds < 60 ? seconds : Math.ceil(seconds / 60);
  return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "long" }).format(number);
}

function clock(seconds) {
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60];
  const hours = Math.floor(seconds / 3600);
  if (!hours) return `${parts[0]}:${String(parts[1]).padStart(2, "0")}`;
  return [hours, ...parts.map((part) => String(part).padStart(2, "0"))].join(":");
}

// Show the time left, say it at the milestones, and call `end` when it is over.
function runClock(box, seconds, isMilestone, end) {
  const text = box.querySelector("[data-wait-text]");
  const countdown = box.querySelector("[data-countdown]");
  const time = box.querySelector("[data-countdown-time]");
  // The wall clock, because a phone that sleeps stops its timers.
  const until = Date.now() + seconds * 1000;

  const say = (sentence) => {
    if (text.textContent !== sentence) text.textContent = sentence;
  };
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left <= 0) {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", tick);
      countdown.hidden = true;
      text.classList.remove("visually-hidden");
      say(box.dataset.doneText);
      return end();
    }
    time.textContent = clock(left);
    if (isMilestone(left)) say(fill(box.dataset.leftText, { time: spoken(left) }));
  };

  text.classList.add("visually-hidden");
  countdown.hidden = false;
  const timer = setInterval(tick, 500);
  document.addEventListener("visibilitychange", tick);
  tick();
}

function countDown(box) {
  const buttons = (box.closest("form") ?? document).querySelectorAll("[data-submit]");
  const setDisabled = (isDisabled) => buttons.forEach((button) => { button.disabled = isDisabled; });
  const isMilestone = (left) => left % 60 === 0 || MILESTONES.includes(left);
  setDisabled(true);
  runClock(box, Number(box.dataset.waitSeconds), isMilestone, () => {
    setDisabled(false);
    box.classList.add("is-over");
  });
}

// The codes, and what can be done with them, leave the page.
function clearCodes() {
  const section = document.querySelector("#codes");
  const hadFocus = section?.contains(document.activeElement);
  section?.querySelectorAll("[data-while-available]").forEach((part) => part.remove());
  if (hadFocus) section.focus();
}

function countAvailability(box) {
  runClock(box, Number(box.dataset.availableSeconds), (left) => AVAILABLE.includes(left), clearCodes);
}

function offerCopying(button) {
  if (!navigator.clipboard) return; // a page without HTTPS
  const said = document.querySelector("[data-copy-said]");
  button.hidden = false;
  button.addEventListener("click", async () => {
    const codes = [...document.querySelectorAll("[data-codes] code")].map((code) => code.textContent);
    said.textContent = ""; // so that a second time is announced too
    try {
      await navigator.clipboard.writeText(codes.join("\n"));
      said.textContent = button.dataset.doneText;
    } catch {
      said.textContent = button.dataset.failedText;
    }
  });
}

function offerPrinting(button) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}

function offerHiding(button) {
  if (!CSS.supports("-webkit-text-security", "disc")) return;
  const field = document.getElementById(button.getAttribute("aria-controls"));
  button.hidden = false;
  button.addEventListener("click", () => {
    const isMasked = field.classList.toggle("is-masked");
    button.setAttribute("aria-pressed", String(isMasked));
  });
}

function helpTyping(field) {
  const count = field.form.querySelector("[data-count]");
  const length = Number(count.dataset.length);
  const show = () => {
    const typed = field.value.replace(/^\W*\d{1,3}[.):]\s/, "").match(/[A-Za-z0-9]/g)?.length ?? 0;
    count.textContent = typed ? fill(count.dataset.countText, { count: typed, length }) : "";
    count.classList.toggle("is-complete", typed === length);
  };
  field.addEventListener("input", show);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    // Where there are two things to do, Enter must not choose.
    if (field.form.querySelectorAll("[data-submit]").length === 1) field.form.requestSubmit();
  });
  show();
}

function submitOnce(form) {
  form.addEventListener("submit", (event) => {
    const button = event.submitter ?? form.querySelector("[data-submit]");
    if (button.disabled || form.getAttribute("aria-busy") === "true") return event.preventDefault();
    form.setAttribute("aria-busy", "true");
    button.textContent = button.dataset.busyText;
  });
}

// The answer is a file, so the page stays as it is: it has to say itself what happened.
function downloadOnce(form) {
  submitOnce(form);
  form.addEventListener("submit", (event) => {
    if (event.defaultPrevented) return;
    const said = form.querySelector("[data-said]");
    setTimeout(() => {
      const button = form.querySelector("[data-submit]");
      form.removeAttribute("aria-busy");
      form.querySelectorAll("input, button").forEach((control) => { control.disabled = true; });
      button.textContent = button.dataset.doneText;
      said.textContent = said.dataset.text;
    }, SETTLE_MS);
  });
}

function followMail(box) {
  const text = box.querySelector("[data-events-text]");
  const link = document.querySelector("[data-events-link]");
  const source = new EventSource(box.dataset.events);
  source.addEventListener("state", (event) => {
    const { state } = JSON.parse(event.data);
    if (state === "queued") return;
    source.close();
    if (state === "none") return; // replaced meanwhile; the link leads on
    text.textContent = box.dataset[`${state}Text`];
    text.className = `notice notice-${state === "sent" ? "success" : "error"}`;
    link.textContent = box.dataset.retryText;
    link.hidden = state === "sent";
  });
  addEventListener("pagehide", () => source.close());
}

// Going back, also after signing out, must not bring a code back.
addEventListener("pagehide", (event) => { if (event.persisted) clearCodes(); });
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

document.querySelectorAll("[data-wait-seconds]").forEach(countDown);
document.querySelectorAll("[data-available-seconds]").forEach(countAvailability);
document.querySelectorAll("[data-hide-code]").forEach(offerHiding);
document.querySelectorAll("[data-code]").forEach(helpTyping);
document.querySelectorAll("[data-copy]").forEach(offerCopying);
document.querySelectorAll("[data-print]").forEach(offerPrinting);
document.querySelectorAll("form[data-guard]").forEach(submitOnce);
document.querySelectorAll("form[data-download]").forEach(downloadOnce);
document.querySelectorAll("[data-events]").forEach(followMail);
