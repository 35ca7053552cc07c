"""The data of the demo: who appears with whom in the chapters of Les Misérables, as rows of the messenger schema.

The graph is Donald Knuth's, from The Stanford GraphBase, as networkx ships it. Characters are users, each with
an account and a profile, co-appearances are follows in both directions, and each character has a message from the one
whom they appear with most often.
"""

import uuid
from typing import Any, TypeAlias

from crosskey.local_cluster.cluster_error import ClusterError

Row: TypeAlias = dict[str, Any]

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "crosskey")


class Characters:
    """The characters, and in how many chapters each two of them appear together."""

    def __init__(self) -> None:
        """Load the graph; ClusterError if networkx is not installed."""
        try:
            import networkx
        except ModuleNotFoundError:
            raise ClusterError("networkx is not installed: install crosskey[local]") from None
        graph = networkx.les_miserables_graph()
        self._chapters: dict[str, dict[str, int]] = {
            name: {other: tie["weight"] for other, tie in sorted(graph[name].items())} for name in sorted(graph)
        }

    def rows(self) -> dict[str, list[Row]]:
        """Return the rows of each table, parents before their children."""
        return {
            "languages": [{"code": "fr", "name": "French"}],
            "users": [user(name) for name in self._chapters],
            "accounts": [account(name) for name in self._chapters],
            "users_accounts": [{"user_id": user_id(name), "account_id": account_id(name)} for name in self._chapters],
            "profiles": [self._profile(name) for name in self._chapters],
            "follows": [
                follow(name, other, chapters)
                for name, others in self._chapters.items()
                for other, chapters in others.items()
            ],
            "messages": [self._message(name) for name in self._chapters],
        }

    def _profile(self, name: str) -> Row:
        others = len(self._chapters[name])
        return {"user_id": user_id(name), "bio": f"I meet {others} of the other characters."}

    def _message(self, recipient: str) -> Row:
        others = self._chapters[recipient]
        sender = max(others, key=lambda other: others[other])
        text = f"We appear together in {others[sender]} chapters."
        return {"recipient_id": user_id(recipient), "sender_id": user_id(sender), "content": text}


def user_id(name: str) -> str:
    """Return the id of the user of that name: the same in every run, so that each run tells the same story."""
    return str(uuid.uuid5(_NAMESPACE, name))


def account_id(name: str) -> str:
    """Return the id of the account of the user of that name."""
    return str(uuid.uuid5(_NAMESPACE, f"account of {name}"))


def account(name: str, username: str | None = None) -> Row:
    """Return the row of a user's account; the username is the name in small letters if no other is given."""
    own = name.replace(" ", ".").lower()
    return {"id": account_id(name), "username": username or own, "email": f"{own}@example.org"}


def user(name: str) -> Row:
    """Return the row of a user."""
    return {"id": user_id(name), "name": name}


def follow(follower: str, followee: str, weight: int) -> Row:
    """Return the row of a follow."""
    return {"follower_id": user_id(follower), "followee_id": user_id(followee), "weight": weight}
