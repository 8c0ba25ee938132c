"""Entry point of `python -m bff.keys`."""

from bff.keys.key_file import main

if __name__ == "__main__":
    raise SystemExit(main())
