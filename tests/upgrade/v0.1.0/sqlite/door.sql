pragma user_version=0;
BEGIN TRANSACTION;
CREATE TABLE content (version integer not null);
INSERT INTO "content" VALUES(2);
CREATE TABLE entry (
    digest text primary key, handshake integer not null, site integer not null, connection integer not null,
    crm text not null, scopes text not null, get_allowed integer not null, revoked integer not null,
    id_pattern text not null
);
INSERT INTO "entry" VALUES('c7aedf6c0fa75b2f8caeb01fe4a397a2f2db43d37de5d4b7eae9e6323afb64f1',1,1,1,'sandbox','[]',0,0,'\d{1,18}');
COMMIT;
