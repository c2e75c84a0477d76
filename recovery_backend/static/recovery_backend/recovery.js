// What HTML cannot do alone: count a wait down, hide the code, and submit a form once.

const language = document.documentElement.lang || undefined;
const MILESTONES = [10, 30]; // seconds; whole minutes are announced as well

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

function countDown(box) {
  const text = box.querySelector("[data-wait-text]");
  const countdown = box.querySelector("[data-countdown]");
  const time = box.querySelector("[data-countdown-time]");
  const buttons = document.querySelectorAll("[data-submit]");
  // The wall clock, because a phone that sleeps stops its timers.
  const until = Date.now() + Number(box.dataset.waitSeconds) * 1000;

  const say = (sentence) => {
    if (text.textContent !== sentence) text.textContent = sentence;
  };
  const end = () => {
    clearInterval(timer);
    buttons.forEach((button) => { button.disabled = false; });
    countdown.hidden = true;
    text.classList.remove("visually-hidden");
    box.classList.add("is-over");
    say(box.dataset.doneText);
  };
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left <= 0) return end();
    time.textContent = clock(left);
    if (left % 60 === 0 || MILESTONES.includes(left)) {
      say(fill(box.dataset.leftText, { time: spoken(left) }));
    }
  };

  buttons.forEach((button) => { button.disabled = true; });
  text.classList.add("visually-hidden");
  countdown.hidden = false;
  const timer = setInterval(tick, 500);
  document.addEventListener("visibilitychange", () => { if (until > Date.now()) tick(); });
  tick();
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
    field.form.requestSubmit();
  });
  show();
}

function submitOnce(form) {
  const button = form.querySelector("[data-submit]");
  const label = button.textContent;
  form.addEventListener("submit", (event) => {
    if (button.disabled || form.getAttribute("aria-busy") === "true") return event.preventDefault();
    form.setAttribute("aria-busy", "true");
    button.textContent = button.dataset.busyText;
  });
  // Back from the next page: the browser shows this one as it was left.
  addEventListener("pageshow", () => {
    form.removeAttribute("aria-busy");
    button.textContent = label;
  });
}

document.querySelectorAll("[data-wait-seconds]").forEach(countDown);
document.querySelectorAll("[data-hide-code]").forEach(offerHiding);
document.querySelectorAll("[data-code]").forEach(helpTyping);
document.querySelectorAll("form[data-guard]").forEach(submitOnce);
