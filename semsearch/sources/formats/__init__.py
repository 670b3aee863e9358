"""Document formats: PDF, Word, PowerPoint, HTML, EPUB and mail, parsed in a child process."""
