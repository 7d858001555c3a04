"""The application's history."""
