"""The command line: ``commands`` parses it, and each verb has a module of its own."""
