{%- from "install.jinja" import install with context %}
{{ install(
  account='placement', uid=905, home='/var/lib/placement',
  packages=['python3-placement', 'python3-memcache', 'python3-pymysql', 'uwsgi-plugin-python3'],
  without=['python3-openstackclient'],
  loads={
    'api': ['/usr/bin/uwsgi', '/usr/lib/uwsgi/plugins/python3_plugin.so', pillar.image.wsgi, 'placement.deploy',
            'keystonemiddleware.auth_token', 'memcache', 'pymysql'],
    'expand': ['/usr/bin/placement-manage', 'placement.cmd.manage', 'pymysql'],
    'register': ['/usr/bin/python3', 'http.client', 'json'],
    'retire': ['/usr/bin/python3', 'http.client', 'json'],
  },
) }}
