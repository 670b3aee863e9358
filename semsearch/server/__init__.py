"""Indexes served over a network: an HTTP API, one part of which speaks OpenAI's; and MCP.

FastAPI, uvicorn and the MCP SDK are imported here and nowhere else, behind the extras `server`
and `mcp`.
"""
