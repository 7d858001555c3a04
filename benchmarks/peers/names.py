"""The names of the contenders in tables and plots."""

from typing import Final

OURS: Final = "threadlog"
SYNC: Final = "threadlog, sync"
FRAMEWORK: Final = "cubeloop's own"
FLOOR: Final = "asyncmy by hand"
AGENTS_SDK: Final = "OpenAI Agents SDK"
OURS_ON_SQLITE: Final = "threadlog, SQLite"
LANGGRAPH: Final = "LangGraph's own"
