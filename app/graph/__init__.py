"""Graph state as rows, without LangGraph."""
