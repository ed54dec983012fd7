"""Publish vectors on the Hugging Face Hub: a safetensors file, and a page made from its card.

The vector's own loader reads a downloaded file; it runs no code and checks what it reads. The
author of a vector may be a stranger: look at its card, and let ``check`` compare the weights.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from huggingface_hub import CommitOperationAdd, HfApi, ModelCardData, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
from torch import Tensor

from interp_steer import __version__
from interp_steer.errors import HubError, InterpSteerError, VectorError
from interp_steer.models.sites import Site
from interp_steer.vectors.card import Card

FILE = "vector.safetensors"
"""The name of the file of a vector in its repository."""

TAGS = ("activation-steering", "steering-vector", "mechanistic-interpretability")
"""The tags by which the page is found."""

_LIBRARY = "interp_steer"

# The base error of the client's HTTP library, for failed connections, timeouts and broken answers.
# Which library it is depends on the version of huggingface_hub.
_HTTPError: type[Exception] = HfHubHTTPError.__bases__[0]


class _Vector(Protocol):
    steered: ClassVar[str]

    @property
    def card(self) -> Card: ...
    @property
    def sites(self) -> tuple[Site, ...]: ...
    @property
    def norms(self) -> Tensor: ...
    def save(self, path: str | Path) -> None: ...
    @classmethod
    def load(cls: type[V], path: str | Path) -> V: ...


V = TypeVar("V", bound=_Vector)


class Published:
    """Methods that share a steering vector of any kind on the hub."""

    steered: ClassVar[str] = "vector.shift(1.0)"
    """The code with which the page steers; ``{layer}`` stands for a layer."""

    def push_to_hub(
        self: _Vector,
        repo_id: str,
        *,
        revision: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        endpoint: str | None = None,
    ) -> str:
        """Publish the vector on the Hugging Face Hub, with a page made from its card.

        The repository is made where it is missing. Its ``vector.safetensors`` and ``README.md`` are
        replaced; their earlier versions stay in the history of the repository.

        Args:
            repo_id: such as ``"you/lowercase-for-gemma"``; without a namespace, your own is used.
            revision: the branch, made where it is missing; ``main`` when not given.
            private: whether a new repository is private; the rule of your account when None.
            token: a token that may write; the token that ``hf auth login`` or ``HF_TOKEN`` left
                when None.
            endpoint: of the hub; ``HF_ENDPOINT`` or huggingface.co when None.

        Returns:
            The commit. ``from_hub(repo_id, revision=...)`` with a commit always fetches the same
            file.

        Raises:
            HubError: for an invalid repository name, a missing token or a token that may not write,
                a missing connection, or anything else that the hub refuses.
            VectorError: for a vector that is zero everywhere.

        Example::

            vector.push_to_hub("you/lowercase-for-gemma")
        """
        write_page(self, repo_id)  # refuses a useless vector before a repository is made
        api = HfApi(endpoint, token, library_name=_LIBRARY, library_version=__version__)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE
            self.save(path)
            with _translate_errors(
                f"{self.card.name!r} cannot be published as {repo_id!r}", api.endpoint
            ):
                repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
                if revision is not None:
                    api.create_branch(repo, branch=revision, exist_ok=True)
                commit = api.create_commit(
                    repo,
                    [
                        CommitOperationAdd(FILE, path),
                        CommitOperationAdd("README.md", write_page(self, repo).encode()),
                    ],
                    commit_message=f"{type(self).__name__} {self.card.name}",
                    revision=revision,
                )
        return commit.oid

    @classmethod
    def from_hub(
        cls: type[V],
        repo_id: str,
        *,
        revision: str | None = None,
        filename: str = FILE,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        endpoint: str | None = None,
    ) -> V:
        """Fetch a vector from the Hugging Face Hub, or from the cache where the cache has it.

        Args:
            repo_id: such as ``"you/lowercase-for-gemma"``.
            revision: a branch, tag or commit; ``main`` when not given. Only a commit never changes.
            filename: of the safetensors file in the repository.
            token: a token that may read; the token that ``hf auth login`` or ``HF_TOKEN`` left when
                None.
            cache_dir: the folder of the cache; Hugging Face's default when None.
            endpoint: of the hub; ``HF_ENDPOINT`` or huggingface.co when None.

        Raises:
            HubError: for a repository, revision or file that does not exist or that you may not
                read, or a missing connection.
            VectorError: for a file that is damaged or does not hold a vector of this kind.

        Example::

            vector = ist.SteeringVector.from_hub("you/lowercase-for-gemma")
            steer = vector.check(model).at(5).project()
        """
        at = f" at revision {revision!r}" if revision else ""
        with _translate_errors(
            f"{filename} of {repo_id!r}{at} cannot be fetched", HfApi(endpoint).endpoint
        ):
            path = hf_hub_download(
                repo_id,
                filename,
                revision=revision,
                library_name=_LIBRARY,
                library_version=__version__,
                cache_dir=cache_dir,
                token=token,
                endpoint=endpoint,
            )
        return cls.load(path)


def write_page(vector: _Vector, repo_id: str) -> str:
    """Write the README.md of a vector's repository: YAML for the hub, the card, and how to use it.

    Args:
        vector: the vector that is published.
        repo_id: its repository.

    Raises:
        VectorError: for a vector that is zero everywhere.
    """
    card, kind = vector.card, type(vector).__name__
    by_layer = vector.norms.reshape(-1, len(vector.sites)).any(dim=0).tolist()
    acting = [site.layer for site, acts in zip(vector.sites, by_layer, strict=True) if acts]
    if not acting:
        raise VectorError(f"{card.name!r} is zero everywhere; fit it on pairs that differ")
    base = find_base_model(card)
    header = ModelCardData(base_model=base, library_name=_LIBRARY, tags=list(TAGS)).to_yaml()
    model = json.dumps(card.model) + (f", revision={json.dumps(card.revision)}" if base else "")
    steered = vector.steered.format(layer=acting[len(acting) // 2])
    return f"""\
---
{header}
---

# {" ".join(card.name.split())}

A `{kind}` for activation steering with {_LIBRARY}: directions in the activations of one model,
which are added to them while it writes.

```text
{card}
```

```python
import interp_steer as ist
model = ist.load({model})
vector = ist.{kind}.from_hub({json.dumps(repo_id)}).check(model)
answers = ist.generate(model, ["Tell me about the castle."], {steered})
print(answers[0].text)
```

`check` refuses a model with other weights. How strongly to steer is for you to measure.
"""


def find_base_model(card: Card) -> str | None:
    """Return the name on the hub of the model that a vector acts on; None for a model from
    elsewhere."""
    try:
        validate_repo_id(card.model)
    except HFValidationError:
        return None
    return card.model if card.revision else None


@contextmanager
def _translate_errors(what: str, endpoint: str) -> Iterator[None]:
    """Raise errors of the client of the hub as :class:`HubError`, with a fix."""
    try:
        yield
    except InterpSteerError:
        raise
    except (_HTTPError, EntryNotFoundError, OSError, ValueError, RuntimeError) as error:
        raise HubError(f"{what}: {_explain_error(error, endpoint)}") from error


def _explain_error(error: BaseException, endpoint: str) -> str:
    """Return the cause of an error, and a fix."""
    if isinstance(error, (LocalEntryNotFoundError, RuntimeError)) and error.__cause__ is not None:
        return _explain_error(
            error.__cause__, endpoint
        )  # these say only that something else went wrong
    for kind, reason in _REASONS.items():
        if isinstance(error, kind) and not isinstance(error, LocalEntryNotFoundError):
            return reason
    if isinstance(error, HFValidationError):
        return f"{error} Give 'namespace/name'"
    message = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return (
                f"the hub refuses the token ({status}), or the token is missing; make one that may "
                "do this at https://huggingface.co/settings/tokens, then run `hf auth login`, set "
                "HF_TOKEN, or give token="
            )
        return f"the hub answered {status} ({error.server_message or message}); try again later"
    if isinstance(error, (_HTTPError, ConnectionError, LocalEntryNotFoundError, RuntimeError)):
        return f"{endpoint} cannot be reached ({message}); check the connection, or try again"
    if isinstance(error, OSError) and not isinstance(error, FileMetadataError):
        return f"{message}; free some space, or give another cache_dir="
    return f"{endpoint} did not answer as a hub does ({message}); look at HF_ENDPOINT and proxies"


_REASONS = {
    OfflineModeIsEnabled: "HF_HUB_OFFLINE is set and the cache does not have it; unset it",
    LocalTokenNotFoundError: "no token is set; run `hf auth login`, set HF_TOKEN, or give token=",
    GatedRepoError: "the repository is gated; ask for access on its page, and give token=",
    RepositoryNotFoundError: "the repository does not exist, or the token may not see it; "
    "look at the name, or give token=",
    RevisionNotFoundError: "the repository has no such revision; give a branch, a tag or a commit "
    "of it",
    EntryNotFoundError: "the repository has no such file; look at what it holds, and give "
    "filename=",
}
