"""Tests of threadlog's own migrations, and of the directives for an application's."""
