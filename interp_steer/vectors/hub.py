"""Vectors on the Hugging Face Hub: a safetensors file, and a page that its card writes.

What is fetched is read by the vector's own loader, which runs no code and checks what it reads; a
vector from a stranger is still theirs, so look at its card, and let ``check`` compare the weights.
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
"""What the file of a vector is called in its repository."""

TAGS = ("activation-steering", "steering-vector", "mechanistic-interpretability")
"""What its page is found by."""

_LIBRARY = "interp_steer"

# What the client's HTTP library raises where there is no connection, no answer in time or half an
# answer; which library that is depends on the version of huggingface_hub.
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
    """What steering vectors of every kind have, so that they can be shared."""

    steered: ClassVar[str] = "vector.shift(1.0)"
    """What its page steers by, with ``{layer}`` where it needs one."""

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

        The repository is made where it is missing. Its ``vector.safetensors`` and ``README.md``
        are replaced; what stood in them before stays in its history.

        Args:
            repo_id: such as ``"you/lowercase-for-gemma"``; without a namespace it is yours.
            revision: the branch, made where it is missing; ``main`` when not given.
            private: whether only you see a repository that is made; your account's rule when None.
            token: that may write; the one that ``hf auth login`` or ``HF_TOKEN`` left when None.
            endpoint: of the hub; ``HF_ENDPOINT`` or huggingface.co when None.

        Returns:
            The commit, which ``from_hub(repo_id, revision=...)`` fetches for ever.

        Raises:
            HubError: for a name that no repository has, no token or one that may not write, no
                connection, or what else the hub refuses.
            VectorError: for a vector that is zero everywhere.

        Example:
            >>> vector.push_to_hub("you/lowercase-for-gemma")  # doctest: +SKIP
        """
        page(self, repo_id)  # refuses what cannot be used, before anything is made
        api = HfApi(endpoint, token, library_name=_LIBRARY, library_version=__version__)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE
            self.save(path)
            with _said(f"{self.card.name!r} cannot be published as {repo_id!r}", api.endpoint):
                repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
                if revision is not None:
                    api.create_branch(repo, branch=revision, exist_ok=True)
                commit = api.create_commit(
                    repo,
                    [
                        CommitOperationAdd(FILE, path),
                        CommitOperationAdd("README.md", page(self, repo).encode()),
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
        """Fetch a vector from the Hugging Face Hub, or from the cache where that has it.

        Args:
            repo_id: such as ``"you/lowercase-for-gemma"``.
            revision: a branch, tag or commit; ``main`` when not given. Only a commit is for ever.
            filename: of the safetensors file in the repository.
            token: that may read it; the one that ``hf auth login`` or ``HF_TOKEN`` left when None.
            cache_dir: where files are kept; Hugging Face's own place when None.
            endpoint: of the hub; ``HF_ENDPOINT`` or huggingface.co when None.

        Raises:
            HubError: for a repository, revision or file that is not there or not yours to read, or
                no connection.
            VectorError: for a file that is damaged, or no vector of this kind.

        Example:
            >>> vector = ist.SteeringVector.from_hub("you/lowercase-for-gemma")  # doctest: +SKIP
            >>> steer = vector.check(model).at(5).project()                      # doctest: +SKIP
        """
        at = f" at revision {revision!r}" if revision else ""
        with _said(f"{filename} of {repo_id!r}{at} cannot be fetched", HfApi(endpoint).endpoint):
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


def page(vector: _Vector, repo_id: str) -> str:
    """The README.md of a vector's repository: YAML for the hub, the card, and how to use it.

    Args:
        vector: what is published.
        repo_id: where.

    Raises:
        VectorError: for a vector that is zero everywhere.
    """
    card, kind = vector.card, type(vector).__name__
    by_layer = vector.norms.reshape(-1, len(vector.sites)).any(dim=0).tolist()
    acting = [site.layer for site, acts in zip(vector.sites, by_layer, strict=True) if acts]
    if not acting:
        raise VectorError(f"{card.name!r} is zero everywhere; fit it on pairs that differ")
    base = base_model(card)
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


def base_model(card: Card) -> str | None:
    """The model on the hub that a vector acts on; None for one that did not come from there."""
    try:
        validate_repo_id(card.model)
    except HFValidationError:
        return None
    return card.model if card.revision else None


@contextmanager
def _said(what: str, endpoint: str) -> Iterator[None]:
    """Say what the client of the hub raises as an error of ours, with the mend."""
    try:
        yield
    except InterpSteerError:
        raise
    except (_HTTPError, EntryNotFoundError, OSError, ValueError, RuntimeError) as error:
        raise HubError(f"{what}: {_reason(error, endpoint)}") from error


def _reason(error: BaseException, endpoint: str) -> str:
    """What is wrong, and the mend."""
    if isinstance(error, (LocalEntryNotFoundError, RuntimeError)) and error.__cause__ is not None:
        return _reason(error.__cause__, endpoint)  # these say only that something else went wrong
    for kind, reason in _REASONS.items():
        if isinstance(error, kind) and not isinstance(error, LocalEntryNotFoundError):
            return reason
    if isinstance(error, HFValidationError):
        return f"{error} Give 'namespace/name'"
    said = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return (
                f"the hub refuses the token ({status}), or there is none; make one that may do "
                "this at https://huggingface.co/settings/tokens, then run `hf auth login`, set "
                "HF_TOKEN, or give token="
            )
        return f"the hub answered {status} ({error.server_message or said}); try again later"
    if isinstance(error, (_HTTPError, ConnectionError, LocalEntryNotFoundError, RuntimeError)):
        return f"{endpoint} cannot be reached ({said}); look at the connection, or try again later"
    if isinstance(error, OSError) and not isinstance(error, FileMetadataError):
        return f"{said}; free some space, or give another cache_dir="
    return f"{endpoint} did not answer as a hub does ({said}); look at HF_ENDPOINT and proxies"


_REASONS = {
    OfflineModeIsEnabled: "HF_HUB_OFFLINE is set and the cache does not have it; unset it",
    LocalTokenNotFoundError: "there is no token; run `hf auth login`, set HF_TOKEN, or give token=",
    GatedRepoError: "the repository is gated; ask for access on its page, and give token=",
    RepositoryNotFoundError: "there is no such repository, or the token may not see it; look at "
    "the name, or give token=",
    RevisionNotFoundError: "the repository has no such revision; give a branch, a tag or a commit "
    "of it",
    EntryNotFoundError: "the repository has no such file; look at what it holds, and give "
    "filename=",
}
