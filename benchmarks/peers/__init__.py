"""Who is measured: threadlog, and what users would pick instead."""
