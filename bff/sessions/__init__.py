"""The browser's session: two sealed records, three indexes, and the rules by which a request belongs to one."""
