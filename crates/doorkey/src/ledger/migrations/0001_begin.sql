-- Times are seconds since 1970, keys and ids hexadecimal or as they travel, flags 0 or 1.
-- Only what SQLite and PostgreSQL both take.

CREATE TABLE platform (
  name TEXT PRIMARY KEY,
  root TEXT NOT NULL
);

CREATE TABLE account (
  id TEXT PRIMARY KEY,
  email TEXT NOT NULL,
  key TEXT NOT NULL,
  role TEXT NOT NULL,
  enterprise TEXT NOT NULL,
  region TEXT NOT NULL,
  language TEXT NOT NULL,
  made BIGINT NOT NULL
);
CREATE INDEX account_email ON account (email);
CREATE INDEX account_key ON account (key);

CREATE TABLE device (
  id TEXT PRIMARY KEY,
  key TEXT NOT NULL,
  owner TEXT NOT NULL,
  owner_key TEXT NOT NULL,
  model TEXT NOT NULL,
  region TEXT NOT NULL,
  site TEXT,
  plan TEXT NOT NULL,
  plan_end BIGINT,
  demo BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  since BIGINT NOT NULL,
  made BIGINT NOT NULL,
  operations TEXT NOT NULL,
  applied BIGINT NOT NULL,
  seen BIGINT NOT NULL,
  deleted BIGINT NOT NULL
);
CREATE INDEX device_owner ON device (owner);
CREATE INDEX device_site ON device (site);

-- What `doorward provision` printed: whoever holds the secret may register the device.
CREATE TABLE claim (
  device TEXT PRIMARY KEY,
  secret TEXT NOT NULL,
  used BIGINT NOT NULL
);

-- Who may approve requests for a site besides the owner of its devices.
CREATE TABLE site_admin (
  site TEXT NOT NULL,
  account TEXT NOT NULL,
  PRIMARY KEY (site, account)
);

-- One row for each device and site: its revocation list, and the lock for its changes.
CREATE TABLE audience (
  id TEXT PRIMARY KEY,
  turn BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  made BIGINT NOT NULL,
  floor BIGINT NOT NULL
);
CREATE INDEX audience_made ON audience (made);

CREATE TABLE share (
  id TEXT PRIMARY KEY,
  audience TEXT NOT NULL,
  recipient TEXT NOT NULL,
  recipient_key TEXT,
  is_group BIGINT NOT NULL,
  shared_by TEXT NOT NULL,
  approved_by TEXT,
  permissions BYTEA NOT NULL,
  description TEXT,
  made BIGINT NOT NULL,
  begins BIGINT NOT NULL,
  ends BIGINT NOT NULL,
  version BIGINT NOT NULL,
  signed BIGINT NOT NULL,
  limits BYTEA,
  region TEXT NOT NULL,
  invitation TEXT,
  ended TEXT,
  ended_at BIGINT,
  ended_seq BIGINT,
  used BIGINT
);
CREATE INDEX share_audience ON share (audience, ends);
CREATE INDEX share_recipient ON share (recipient);
CREATE INDEX share_by ON share (shared_by);
CREATE INDEX share_invitation ON share (invitation);

-- What one device has said of one share, signed by it.
CREATE TABLE device_word (
  share TEXT NOT NULL,
  device TEXT NOT NULL,
  version BIGINT NOT NULL,
  refused TEXT,
  at BIGINT NOT NULL,
  receipt BYTEA NOT NULL,
  PRIMARY KEY (share, device)
);

-- The newest revocation list that a device has said it obeys, signed by it.
CREATE TABLE applied (
  device TEXT NOT NULL,
  audience TEXT NOT NULL,
  seq BIGINT NOT NULL,
  at BIGINT NOT NULL,
  state BYTEA NOT NULL,
  PRIMARY KEY (device, audience)
);
CREATE INDEX applied_audience ON applied (audience, device);

CREATE TABLE invitation (
  id TEXT PRIMARY KEY,
  address TEXT NOT NULL,
  code TEXT NOT NULL,
  tries BIGINT NOT NULL,
  lapses BIGINT NOT NULL,
  stage TEXT NOT NULL,
  invited_by TEXT NOT NULL,
  guest BIGINT NOT NULL
);
CREATE INDEX invitation_open ON invitation (stage, lapses);

CREATE TABLE user_group (
  id TEXT PRIMARY KEY,
  lookup_key TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  owner TEXT NOT NULL,
  key TEXT NOT NULL UNIQUE,
  hosts TEXT NOT NULL,
  roster BIGINT NOT NULL,
  roster_bytes BYTEA
);

CREATE TABLE member (
  user_group TEXT NOT NULL,
  account TEXT NOT NULL,
  key TEXT NOT NULL,
  PRIMARY KEY (user_group, key)
);
CREATE INDEX member_account ON member (account);

CREATE TABLE access_request (
  id TEXT PRIMARY KEY,
  user_group TEXT NOT NULL,
  site TEXT NOT NULL,
  approved BIGINT NOT NULL,
  decided_by TEXT NOT NULL,
  share TEXT,
  at BIGINT NOT NULL
);
CREATE INDEX access_request_group ON access_request (user_group);

-- Every newest statement as signed, for the broker to keep: what is there more than what was
-- published has to go out.
CREATE TABLE statement (
  audience TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  bytes BYTEA NOT NULL,
  revision BIGINT NOT NULL,
  published BIGINT NOT NULL,
  claimed_until BIGINT NOT NULL,
  tries BIGINT NOT NULL,
  again BIGINT NOT NULL,
  PRIMARY KEY (audience, kind, name)
);
CREATE INDEX statement_again ON statement (again);

CREATE TABLE release_image (
  model TEXT NOT NULL,
  version BIGINT NOT NULL,
  bytes BYTEA NOT NULL,
  PRIMARY KEY (model, version)
);

CREATE TABLE challenge (
  nonce TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  ends BIGINT NOT NULL
);

CREATE TABLE session (
  token TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  ends BIGINT NOT NULL
);

CREATE TABLE alert (
  id TEXT PRIMARY KEY,
  account TEXT NOT NULL,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  device TEXT NOT NULL,
  words TEXT NOT NULL
);
CREATE INDEX alert_account ON alert (account, at);
