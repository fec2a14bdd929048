"""What runs: image nodes of the model, turned into container images by content key.

``spec`` says what an image is (a pure function of the git tree), ``registry`` knows what exists, ``plan`` is the
difference, ``builder`` makes it so: a base image (``base``), then one layer of packages and one of configuration
(``stage``), each by Salt (``thin``) in a container of the engine (``engine``) that reaches its package sources
(``gateway``) and nothing else.
"""

from pillarbox.images.errors import BuildError, RegistryError, SpecError
from pillarbox.images.spec import BaseSpec, ImageSpec, image_specs

__all__ = ["BaseSpec", "BuildError", "ImageSpec", "RegistryError", "SpecError", "image_specs"]
