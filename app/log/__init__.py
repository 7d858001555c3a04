"""The message log: appends, reads, runs, forks, and questions to people."""
