"""Programs that show threadlog at work; the tests run them."""
