"""Incremental aggregation: prometheus_client's multiprocess mode, exact and cheap while workers come and go.

At every scrape, the stock collector parses every file of every worker that ever lived (prometheus/client_python #275,
#568). Here a process remembers the place of each value in each file (`files`). It adds the files up column by column
(`totals`), and renders only changed lines (`page`). A file belongs to a slot instead of a process. After a process has
ended, the next one takes its slot (`slots`), so there are never more files than processes lived at once. The format of
the files is prometheus_client's own: its collector finds the same samples in the same folder. `values` writes them
without a system call per increment.

This package knows nothing of the BFF.
"""
