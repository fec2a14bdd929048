"""What can go wrong with images: in the model, in the registry, in the store, in a build."""

from __future__ import annotations

from pillarbox.system.errors import PillarboxError, Unavailable


class SpecError(PillarboxError):
    """An image node that cannot become an image, and why."""


class StoreError(PillarboxError):
    """What a builder keeps on its machine cannot be made."""


class RegistryError(PillarboxError):
    """The registry cannot be reached, or answered what no registry should."""


class RegistryUnavailable(RegistryError, Unavailable):
    """The registry cannot be reached now, or says itself that it is not ready."""


class BuildError(PillarboxError):
    """A build that failed, with the image and the stage, and for a Salt state its id, SLS and comment."""

    def __init__(
        self,
        message: str,
        *,
        image: str,
        stage: str,
        state: str | None = None,
        sls: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(f"image {image}, stage {stage}: {message}", hint=hint)
        self.image = image
        self.stage = stage
        self.state = state
        self.sls = sls

    def as_dict(self) -> dict[str, str | int | None]:
        return {**super().as_dict(), "image": self.image, "stage": self.stage, "state": self.state, "sls": self.sls}


class SourceUnavailable(BuildError, Unavailable):
    """A build whose package source could not be reached."""
