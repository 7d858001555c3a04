"""Migrations by threadlog itself, and the directives for hosts' own."""
