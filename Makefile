PYTHON ?= python3
PORT ?= 8000
SERVER ?= asgi
BIN = .venv/bin
OLDEST_ALLAUTH := $(shell sed -n 's/^allauth = .*>=\([0-9.]*\).*/\1/p' pyproject.toml)
OLDEST = .cache/allauth-$(OLDEST_ALLAUTH)

.PHONY: demo test allauth-suite allauth-oldest check matrix bench docs messages clean

demo: .venv/installed-demo  ## the example site with its worker, at http://localhost:$(PORT)/; SERVER=wsgi
	@$(BIN)/python example_site/manage.py migrate --verbosity 0
	@$(BIN)/python example_site/manage.py seed_demo --port $(PORT)
	@PATH="$(CURDIR)/$(BIN):$$PATH" PORT=$(PORT) $(BIN)/honcho start -f example_site/Procfile $(SERVER) worker || [ $$? -eq 130 ]

test: .venv/installed-test  ## every test, on SQLite and on the services that answer
	$(BIN)/python -m tests

allauth-suite: .venv/installed-test  ## allauth's own tests, beside our apps and on our tables
	$(BIN)/python -m tests.allauth_suite
	$(BIN)/python -m tests.allauth_suite --conformance

allauth-oldest: $(OLDEST)/installed  ## the integration and allauth's own tests on the oldest allauth that is supported
	$(OLDEST)/bin/python -m tests --allauth $(OLDEST_ALLAUTH)

check: .venv/installed-test .venv/installed-check  ## what must be green before a commit
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m django makemigrations --check --dry-run
	$(BIN)/python -m tests

matrix: .venv/installed-check  ## the suite on every Python and Django of this machine, and on two versions of allauth
	$(BIN)/nox

bench: .venv/installed-test  ## the figures of docs/performance.md, on PostgreSQL
	$(BIN)/python -m benchmarks; first=$$?; $(BIN)/python -m benchmarks purge && exit $$first

docs: .venv/installed-test  ## docs/settings.md from the table of settings, docs/openapi.yaml from the API
	$(BIN)/python docs/make_settings.py
	$(BIN)/python docs/make_openapi.py

messages: .venv/installed-test  ## the texts to translate, into each package's locale (needs gettext)
	@for package in recovery_backend integrations/*; do \
		(cd $$package && $(CURDIR)/$(BIN)/django-admin makemessages --all --no-obsolete --add-location file \
			&& $(CURDIR)/$(BIN)/django-admin compilemessages) || exit 1; \
	done

clean:
	rm -rf .venv .nox .cache/allauth_suite .cache/allauth-* dist example_site/var

.venv/installed-%: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable . --group $*
	@touch $@

$(OLDEST)/installed: pyproject.toml constraints.txt
	@test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	@$(OLDEST)/bin/pip install --quiet --upgrade "pip>=25.1"
	@$(OLDEST)/bin/pip install --quiet --constraint constraints.txt --editable . --group test django-allauth==$(OLDEST_ALLAUTH)
	@touch $@
