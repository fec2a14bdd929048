{#- The stage of the image that installs: sees nothing but pillar `image`, so that configuration never reaches it.
    What is named under `unneeded` comes along as a dependency, and no server process ever loads it: development
    files, graphics, iSCSI, command line clients, other databases and message buses, the store of another cloud. -#}
{%- set packages = ['glance-common', 'python3-glance', 'python3-memcache', 'python3-pymysql', 'uwsgi-plugin-python3'] -%}
{%- set unneeded = [
  'alembic', 'dbconfig-common', 'dbus*', 'docutils-common', 'fontconfig*', 'fonts-*', 'graphviz', 'icu-devtools',
  'libann0', 'libaom3', 'libavif*', 'libc-ares2', 'libc-dev-bin', 'libc6-dev', 'libcairo2', 'libcdt5', 'libcgraph6',
  'libcrypt-dev', 'libdatrie1', 'libdav1d*', 'libde265-0', 'libdeflate0', 'libev4*', 'libfontconfig1', 'libfreetype6',
  'libfribidi0', 'libgav1-*', 'libgd3', 'libgraphite2-3', 'libgts-0*', 'libgvc6', 'libgvpr2', 'libharfbuzz0b',
  'libheif*', 'libice6', 'libicu-dev', 'libimagequant0', 'libisns0*', 'libjbig0', 'libjpeg62-turbo', 'libjs-*',
  'liblab-gamut1', 'liblerc4', 'libnorm1*', 'libnsl-dev', 'libopeniscsiusr', 'libpango*', 'libpathplan4', 'libperl5*',
  'libpgm-5*', 'libpixman-1-0', 'libpng16-16*', 'libpq5', 'librav1e0*', 'librdkafka1', 'libsharpyuv0', 'libsm6',
  'libsodium23', 'libsvtav1enc*', 'libthai*', 'libtiff6', 'libtirpc-dev', 'libwebp7', 'libx11-*', 'libx265-*', 'libxau6',
  'libxaw7', 'libxcb*', 'libxdmcp6', 'libxext6', 'libxml2-dev', 'libxmu6', 'libxpm4', 'libxrender1', 'libxslt1-dev',
  'libxt6*', 'libyuv0', 'libzmq5', 'linux-libc-dev', 'media-types', 'open-iscsi', 'perl', 'perl-modules-*',
  'python-babel-localedata', 'python3-autopage', 'python3-boto3', 'python3-botocore', 'python3-cliff', 'python3-cmd2',
  'python3-confluent-kafka', 'python3-docutils', 'python3-fixtures', 'python3-gevent', 'python3-kazoo',
  'python3-mysqldb', 'python3-psycopg2', 'python3-pydot', 'python3-pydotplus', 'python3-s3transfer',
  'python3-testresources', 'python3-testscenarios', 'python3-testtools', 'python3-unittest2', 'python3-zmq',
  'qemu-utils', 'rpcsvc-proto', 'sgml-base', 'sudo', 'systemd', 'ucf', 'udev', 'wget', 'x11-common', 'xml-core',
] -%}
{%- set modules = ['glance.cmd.manage', 'glance.common.wsgi_app', 'glance.api.v2.router', 'glance.async_.flows.api_image_import',
                   'glance_store._drivers.filesystem', 'keystonemiddleware.auth_token', 'memcache',
                   'oslo_messaging._drivers.impl_rabbit', 'pymysql'] -%}

# Debian's own number for Glance, given out by us: files on volumes and in Secrets outlive an image.
glance_group:
  group.present:
  - name: glance
  - gid: 64062
  - system: true

glance_user:
  user.present:
  - name: glance
  - uid: 64062
  - gid: 64062
  - system: true
  - home: /var/lib/glance
  - createhome: false
  - shell: /usr/sbin/nologin
  - require:
    - group: glance_group

# Byte code is written at the end, and only of what a process loads: half the size, and faster to install.
glance_no_byte_code:
  cmd.run:
  - name: dpkg-divert --local --rename --add /usr/bin/py3compile && ln -s true /usr/bin/py3compile
  - unless: test -L /usr/bin/py3compile

glance_packages:
  cmd.run:
  - name: apt-get update -qq && apt-get install -y -qq --no-install-recommends {{ packages | join(' ') }}
  - require:
    - cmd: glance_no_byte_code
    - user: glance_user

glance_unneeded:
  cmd.run:
  - name: >-
      dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' '{{ unneeded | join("' '") }}' 2>/dev/null
      | sed -n 's/^ii *//p' | SUDO_FORCE_REMOVE=yes xargs -r dpkg --purge --force-depends
  - require:
    - cmd: glance_packages

glance_byte_code:
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
    - cmd: glance_unneeded
