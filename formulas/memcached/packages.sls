{%- from "install.jinja" import install with context %}
{#- Perl comes along for the tools that show statistics. -#}
{{ install(
  account='memcache', uid=904,
  packages=['memcached'],
  without=['perl'],
  loads={'server': ['/usr/bin/memcached']},
) }}
