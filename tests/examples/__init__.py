"""The programs of examples/, run as a newcomer would: as processes of their own."""
