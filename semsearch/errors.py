"""Every error that semsearch raises on purpose.

    SemsearchError
     +-- InvalidArgument (ValueError)      the caller's input is wrong; the message says how
     |    +-- TextTooLong                  a text is longer than the encoder reads
     +-- DependencyMissing (ImportError)   an optional package is absent; names the extra
     +-- LatentSpaceMismatch               vectors of two spaces were about to be mixed
     +-- IngestError                       a source cannot be read at all
     +-- StorageError                      the index directory: disk full, permissions, ...
     |    +-- IndexNotFound
     |    +-- IndexExists
     |    +-- IndexLocked                  another writer holds the index
     |    +-- IndexCorrupt                 a file is damaged, missing or not the one recorded
     |    +-- UnsupportedFormat            a newer format, or not an index at all
     +-- BackendError                      a library below failed; the cause is chained

A library's own exception never crosses the public boundary: it is mapped where the library is
called, and chained as the cause.
"""


class SemsearchError(Exception):
    """Base of every error raised by semsearch."""


class InvalidArgument(SemsearchError, ValueError):
    """An argument, a document or a query is not acceptable."""


class TextTooLong(InvalidArgument):
    """A text has more tokens than the encoder reads; encoding it would cut it."""


class DependencyMissing(SemsearchError, ImportError):
    """An optional package is not installed."""


class LatentSpaceMismatch(SemsearchError):
    """The encoder's or the vectors' latent space is not the index's."""


class IngestError(SemsearchError):
    """A source as a whole cannot be read (single bad records are rejects, not errors)."""


class StorageError(SemsearchError):
    """The index directory cannot be read or written."""


class IndexNotFound(StorageError):
    """There is no index at the path."""


class IndexExists(StorageError):
    """There is already an index at the path."""


class IndexLocked(StorageError):
    """Another writer holds the index."""


class IndexCorrupt(StorageError):
    """A file of the index is damaged, missing, or not the one the catalog recorded."""


class UnsupportedFormat(StorageError):
    """The directory was written by a newer version, or is not a semsearch index."""


class BackendError(SemsearchError):
    """A library that semsearch builds on failed."""
