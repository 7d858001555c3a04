"""Real compiled LangGraph graphs on the saver, beside LangGraph's own saver in memory."""
