{%- from "install.jinja" import install with context %}
{%- set common = ['dogpile.cache.backends.memcached', 'oslo_cache.backends.dictionary',
                  'oslo_messaging._drivers.impl_rabbit', 'pymysql'] %}
{%- set manage = ['/usr/bin/keystone-manage', 'keystone.cmd.manage', 'keystone.cmd.cli'] + common %}
{{ install(
  account='keystone', uid=901, home='/var/lib/keystone',
  packages=['python3-keystone', 'python3-memcache', 'python3-pymysql', 'uwsgi-plugin-python3'],
  without=['python3-lxml', 'python3-openstackclient', 'python3-responses'],
  loads={
    'api': ['/usr/bin/uwsgi', '/usr/lib/uwsgi/plugins/python3_plugin.so', pillar.image.wsgi,
            'keystone.server.wsgi', 'keystone.server.flask.core'] + common,
    'expand': manage,
    'contract': manage,
    'bootstrap': manage,
  },
) }}
