"""prometheus_client's multiprocess mode, made exact and cheap across workers that come and go.

The stock collector parses every file of every worker that ever lived, at every scrape (prometheus/client_python #275,
#568). Here a process remembers where each value sits in each file (`files`), adds the files up column by column and
renders only what changed (`totals`, `page`). A file is a slot's instead of a process's, and a slot goes to the next
process when its process has ended (`slots`), so that the number of files is bounded by the most processes that lived at
once. The format of the files is prometheus_client's own: its collector reads the same folder and finds the same
samples. `values` writes them without a system call per increment.

Nothing here knows about the BFF.
"""
