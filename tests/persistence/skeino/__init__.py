"""skeino, a server of LangGraph agents, on threadlog's plug-in."""
