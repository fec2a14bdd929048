# Builds the images of what was pushed, and publishes the model. Raised by the reactor on pillarbox/push.
pillarbox_build:
  salt.runner:
  - name: pillarbox.build
