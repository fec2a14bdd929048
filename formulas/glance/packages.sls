{%- from "install.jinja" import install with context %}
{%- set common = ['oslo_messaging._drivers.impl_rabbit', 'pymysql'] %}
{%- set manage = ['/usr/bin/glance-manage', 'glance.cmd.manage'] + common %}
{{ install(
  account='glance', uid=64062, home='/var/lib/glance',
  packages=['glance-common', 'python3-glance', 'python3-memcache', 'python3-pymysql', 'uwsgi-plugin-python3'],
  without=['libxml2-dev', 'libxslt1-dev', 'open-iscsi', 'python3-boto3', 'python3-kazoo', 'python3-lxml',
           'python3-mysqldb', 'python3-pydot', 'python3-suds', 'qemu-utils', 'sudo'],
  loads={
    'api': ['/usr/bin/uwsgi', '/usr/lib/uwsgi/plugins/python3_plugin.so', pillar.image.wsgi,
            'glance.common.wsgi_app', 'glance.api.v2.router', 'glance.api.middleware.context',
            'glance.api.middleware.version_negotiation', 'glance.async_.flows.api_image_import',
            'glance_store._drivers.filesystem', 'keystonemiddleware.auth_token',
            'keystoneauth1.loading._plugins.identity.generic', 'memcache', 'oslo_messaging.notify.messaging',
            'oslo_middleware.healthcheck.disable_by_file'] + common,
    'expand': manage,
    'contract': manage,
    'register': ['/usr/bin/python3', 'http.client', 'json'],
    'retire': ['/usr/bin/python3', 'http.client', 'json'],
  },
) }}
