"""The browser's session: two sealed records, three indexes, and the check that a request belongs to one."""
