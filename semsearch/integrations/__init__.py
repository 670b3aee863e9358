"""Other people's retrievers over an index: LangChain, LlamaIndex, Haystack.

Each module needs its framework, which is an extra of this package.
"""
