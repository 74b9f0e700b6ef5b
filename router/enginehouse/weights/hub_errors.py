"""What huggingface_hub raises, as errors of weights that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import FetchFailed
from .source import HubSource


def not_reached(source: HubSource, error: BaseException) -> FetchFailed:
    """What is said where no hub answers and nothing of *source* is here."""
    return FetchFailed(
        str(source),
        problem=f"the hub cannot be reached ({_first_line(error)}), and the weights are not here yet",
        fix="Check the network and the proxy settings (HTTPS_PROXY); HF_ENDPOINT names another hub, and "
        "HF_HUB_OFFLINE=1 forbids asking one. Or use weights that are here, by their path.",
    )


def unreachable() -> tuple[type[Exception], ...]:
    """The errors of a hub that does not answer at all."""
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    return (httpx2.TransportError, OfflineModeIsEnabled)


@contextmanager
def hub_trouble(source: HubSource) -> Iterator[None]:
    """Turn what goes wrong with a hub into `FetchFailed`."""
    from huggingface_hub import errors

    def failed(problem: str, fix: str, *, retryable: bool = False) -> FetchFailed:
        return FetchFailed(str(source), problem=problem, fix=fix, retryable=retryable)

    broken_off: tuple[type[Exception], ...] = (
        errors.LocalEntryNotFoundError,
        errors.FileMetadataError,
        *unreachable(),
    )
    try:
        yield
    except errors.GatedRepoError as error:
        raise failed(
            "its owner gives access only on request",
            "Ask for access on the repository's page, then log in with 'hf auth login' or set HF_TOKEN.",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise failed(
            "the hub has no such repository, or it is private",
            "Check the spelling; for a private one log in with 'hf auth login' or set HF_TOKEN.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise failed(
            f"the repository has no revision '{source.revision}'",
            "Its page on the hub lists commits under 'Files and versions' > 'History'.",
        ) from error
    except errors.HFValidationError as error:
        raise failed(_first_line(error), "Write hub:ORG/REPO@REVISION.") from error
    except errors.HfHubHTTPError as error:
        raise failed(
            f"the hub answered {_first_line(error)}",
            "Try again later; HF_TOKEN may be missing or wrong.",
            retryable=True,
        ) from error
    except broken_off as error:
        raise failed(
            f"the download broke off ({_first_line(error)})",
            "Try again: what has come is kept.",
            retryable=True,
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise failed(  # huggingface_hub's, of a file that is too short
            f"the download broke off ({_first_line(error)})", "Try again: what has come is kept.", retryable=True
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
