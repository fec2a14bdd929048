{#- The stage of the image that installs: sees nothing but pillar `image`, so that configuration never reaches it.
    What is named under `unneeded` comes along as a dependency, and no server process ever loads it: command line
    clients, documentation and test tools, other databases and message buses, graphics. -#}
{%- set packages = ['python3-keystone', 'python3-memcache', 'python3-pymysql', 'uwsgi-plugin-python3'] -%}
{%- set unneeded = [
  'alembic', 'dbconfig-common', 'dbus*', 'docutils-common', 'libc-ares2', 'libev4*', 'libice6',
  'libjs-*', 'libjson-perl', 'libnorm1*', 'libperl5*', 'libpgm-5*', 'libpq5', 'librdkafka1', 'libsm6', 'libsodium23',
  'libx11-*', 'libxau6', 'libxcb1', 'libxdmcp6', 'libxext6', 'libxmu6', 'libxt6*', 'libzmq5', 'media-types', 'perl',
  'perl-modules-*', 'python-babel-localedata', 'python3-alabaster', 'python3-autopage', 'python3-cinderclient',
  'python3-cliff', 'python3-cmd2', 'python3-colorama', 'python3-confluent-kafka', 'python3-docutils', 'python3-extras',
  'python3-fixtures', 'python3-gevent', 'python3-glanceclient', 'python3-imagesize', 'python3-json-pointer',
  'python3-jsonpatch', 'python3-keyring', 'python3-lxml', 'python3-neutronclient', 'python3-novaclient',
  'python3-openstackclient', 'python3-openstacksdk', 'python3-os-client-config', 'python3-osc-lib',
  'python3-psycopg2', 'python3-pyperclip', 'python3-responses', 'python3-roman', 'python3-secretstorage',
  'python3-snowballstemmer', 'python3-sphinx', 'python3-testresources', 'python3-testscenarios', 'python3-testtools',
  'python3-unittest2', 'python3-warlock', 'python3-wcwidth', 'python3-zmq', 'python3-zope.*', 'sgml-base',
  'sphinx-common', 'ucf', 'wget', 'x11-common', 'xclip', 'xml-core',
] -%}
{%- set modules = ['keystone.cmd.manage', 'keystone.cmd.cli', 'keystone.server.wsgi', 'keystone.server.flask.core',
                   'dogpile.cache.backends.memcached', 'oslo_cache.backends.dictionary',
                   'oslo_messaging._drivers.impl_rabbit', 'pymysql'] -%}

# A number of its own, the same in every release: files on volumes and in Secrets outlive an image.
keystone_group:
  group.present:
  - name: keystone
  - gid: 901
  - system: true

keystone_user:
  user.present:
  - name: keystone
  - uid: 901
  - gid: 901
  - system: true
  - home: /var/lib/keystone
  - createhome: false
  - shell: /usr/sbin/nologin
  - require:
    - group: keystone_group

# Byte code is written at the end, and only of what a process loads: half the size, and faster to install.
keystone_no_byte_code:
  cmd.run:
  - name: dpkg-divert --local --rename --add /usr/bin/py3compile && ln -s true /usr/bin/py3compile
  - unless: test -L /usr/bin/py3compile

keystone_packages:
  cmd.run:
  - name: apt-get update -qq && apt-get install -y -qq --no-install-recommends {{ packages | join(' ') }}
  - require:
    - cmd: keystone_no_byte_code
    - user: keystone_user

keystone_unneeded:
  cmd.run:
  - name: >-
      dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' '{{ unneeded | join("' '") }}' 2>/dev/null
      | sed -n 's/^ii *//p' | xargs -r dpkg --purge --force-depends
  - require:
    - cmd: keystone_packages

keystone_byte_code:
  cmd.run:
  - name: |
      set -e
      rm /usr/bin/py3compile
      dpkg-divert --local --rename --remove /usr/bin/py3compile
      rm -rf /usr/share/ieee-data /usr/share/javascript /usr/share/perl /usr/share/xml /usr/share/sgml
      cd /usr/lib/python3/dist-packages
      find . -depth -type d \( -name tests -o -name test -o -name locale \) -exec rm -rf {} +
      find . /usr/lib/python3.* -name '*.pyc' -delete
      env -u PYTHONDONTWRITEBYTECODE python3 -c 'import {{ modules | join(", ") }}'
  - require:
    - cmd: keystone_unneeded
