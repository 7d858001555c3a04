"""Tests with a real agent framework: `make test-cubeloop` and `make test-cubepi`."""
