{%- from "install.jinja" import install with context %}
{#- What Keystone's options choose, those it is not given included. -#}
{%- set chosen = ['keystone.*backends.sql', 'keystone.*.providers.fernet', 'keystone.policy.backends.rules',
                  'keystone.identity.id_generators.sha256', 'keystone.limit.models.flat',
                  'keystone.auth.plugins.application_credential', 'keystone.auth.plugins.external',
                  'keystone.auth.plugins.mapped', 'keystone.auth.plugins.oauth1', 'keystone.auth.plugins.password',
                  'keystone.auth.plugins.token', 'dogpile.cache.backends.memcached', 'memcache',
                  'oslo_cache.backends.dictionary', 'oslo_messaging.notify.messaging',
                  'oslo_messaging._drivers.impl_rabbit', 'pymysql'] %}
{%- set manage = ['/usr/bin/keystone-manage', 'keystone.cmd.manage', 'keystone.cmd.cli'] + chosen %}
{{ install(
  account='keystone', uid=901, home='/var/lib/keystone',
  packages=['python3-keystone', 'python3-memcache', 'python3-pymysql', 'uwsgi-plugin-python3'],
  without=['python3-lxml', 'python3-openstackclient', 'python3-responses'],
  loads={
    'api': ['/usr/bin/uwsgi', '/usr/lib/uwsgi/plugins/python3_plugin.so', pillar.image.wsgi,
            'keystone.server.wsgi', 'keystone.server.flask.core'] + chosen,
    'expand': manage,
    'contract': manage,
    'bootstrap': manage,
  },
) }}
