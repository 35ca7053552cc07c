-- Notes the anchors of children here whose parents went or got another key, unless another row here has the key by now.
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
{absent};
