{#- What a host that builds images needs besides a Docker engine: the base images come from debootstrap. #}
pillarbox_builder_packages:
  pkg.installed:
  - pkgs:
    - debian-archive-keyring
    - debootstrap
  - install_recommends: false
