pragma user_version=0;
BEGIN TRANSACTION;
CREATE TABLE content (version integer not null);
INSERT INTO "content" VALUES(2);
CREATE TABLE entry (
    digest text primary key, handshake integer not null, site integer not null, connection integer not null,
    crm text not null, scopes text not null, get_allowed integer not null, revoked integer not null,
    id_pattern text not null
);
INSERT INTO "entry" VALUES('1f4dc25b90820b11fc7b753616167a0e8f88423988905c27511fbe6c9bc35cef',1,1,1,'sandbox','[]',0,0,'\d{1,18}');
COMMIT;
