# The stage of the image that installs: sees nothing but pillar `image`, so that configuration never reaches it.
memcached_group:
  group.present:
  - name: memcache
  - gid: 904
  - system: true

memcached_user:
  user.present:
  - name: memcache
  - uid: 904
  - gid: 904
  - system: true
  - home: /nonexistent
  - createhome: false
  - shell: /usr/sbin/nologin
  - require:
    - group: memcached_group

memcached_packages:
  cmd.run:
  - name: apt-get update -qq && apt-get install -y -qq --no-install-recommends memcached
  - require:
    - user: memcached_user

# It comes along for the tools that show statistics.
memcached_unneeded:
  cmd.run:
  - name: >-
      dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' perl 'perl-modules-*' 'libperl5*' 'libgdbm*' 2>/dev/null
      | sed -n 's/^ii *//p' | xargs -r dpkg --purge --force-depends
  - require:
    - cmd: memcached_packages
