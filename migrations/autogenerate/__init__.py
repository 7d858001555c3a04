"""What autogenerate needs to know of threadlog's tables."""
