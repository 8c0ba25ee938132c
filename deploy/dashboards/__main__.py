"""Writes every dashboard, and removes files of former ones."""

from pathlib import Path

from deploy.dashboards import authorisation, dependencies, grafana, overview, sessions, spa, tokens, workers

FOLDER = Path(__file__).parents[1] / "grafana" / "dashboards"
ALL = (
    overview.DASHBOARD,
    sessions.DASHBOARD,
    tokens.DASHBOARD,
    authorisation.DASHBOARD,
    dependencies.DASHBOARD,
    workers.DASHBOARD,
    spa.DASHBOARD,
)


def files() -> dict[str, str]:
    """Content by file name."""
    return {f"{dashboard.name}.json": grafana.text(dashboard) for dashboard in ALL}


def main() -> None:
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for name, content in files().items():
        (FOLDER / name).write_text(content)


if __name__ == "__main__":
    main()
