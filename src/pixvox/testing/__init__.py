"""The kit that is shipped for tests of providers and of callers: emulators of upstream services, and a pytest plugin."""
