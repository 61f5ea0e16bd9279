"""What tests of runner, and of things built on it, can use: a provider that bills for real."""
