-- Shops, each a tenant, and what all of them share. This file also runs unchanged on a single PostgreSQL.

CREATE TABLE plans (
    code text PRIMARY KEY,
    name text NOT NULL,
    monthly_fee numeric(8, 2) NOT NULL
);
COMMENT ON TABLE plans IS E'What tenants pay for: few rows, seldom written.\n@reference';

CREATE TABLE shops (
    id bigint PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    plan_code text NOT NULL REFERENCES plans
);
CREATE INDEX ON shops (plan_code);
COMMENT ON TABLE shops IS E'The tenants.\n@shard_by id';
COMMENT ON CONSTRAINT shops_plan_code_fkey ON shops IS '@relation plan';

-- From here on, every key begins with the tenant. So every row lives with its shop, and every foreign key is local.
CREATE TABLE customers (
    shop_id bigint NOT NULL REFERENCES shops ON DELETE CASCADE,
    id bigint NOT NULL,
    email text NOT NULL,
    PRIMARY KEY (shop_id, id),
    UNIQUE (shop_id, email)
);
COMMENT ON TABLE customers IS E'@shard_with shop_id';

CREATE TABLE products (
    shop_id bigint NOT NULL REFERENCES shops ON DELETE CASCADE,
    id bigint NOT NULL,
    name text NOT NULL,
    price numeric(10, 2) NOT NULL,
    PRIMARY KEY (shop_id, id)
);
COMMENT ON TABLE products IS E'@shard_with shop_id';

CREATE TABLE orders (
    shop_id bigint NOT NULL REFERENCES shops ON DELETE CASCADE,
    id bigint NOT NULL,
    customer_id bigint NOT NULL,
    PRIMARY KEY (shop_id, id),
    FOREIGN KEY (shop_id, customer_id) REFERENCES customers
);
CREATE INDEX ON orders (shop_id, customer_id);
COMMENT ON TABLE orders IS E'@shard_with shop_id';

CREATE TABLE order_items (
    shop_id bigint NOT NULL,
    order_id bigint NOT NULL,
    product_id bigint NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (shop_id, order_id, product_id),
    FOREIGN KEY (shop_id, order_id) REFERENCES orders ON DELETE CASCADE,
    FOREIGN KEY (shop_id, product_id) REFERENCES products
);
CREATE INDEX ON order_items (shop_id, product_id);
COMMENT ON TABLE order_items IS E'@shard_by shop_id';
COMMENT ON CONSTRAINT order_items_shop_id_order_id_fkey ON order_items IS E'@inverse items\n@through orders';
COMMENT ON CONSTRAINT order_items_shop_id_product_id_fkey ON order_items IS E'@through products';

-- The one thing that tenants have with each other, so it crosses shards on purpose. A shop is referred once at most,
-- by whichever shop.
CREATE TABLE referrals (
    referrer_id bigint NOT NULL REFERENCES shops ON DELETE CASCADE,
    referred_id bigint NOT NULL UNIQUE REFERENCES shops ON DELETE CASCADE,
    credit numeric(8, 2) NOT NULL DEFAULT 10,
    PRIMARY KEY (referrer_id, referred_id)
);
COMMENT ON TABLE referrals IS E'@shard_with referrer_id';
COMMENT ON CONSTRAINT referrals_referrer_id_fkey ON referrals IS E'@inverse referrals\n@through referred_by';
COMMENT ON CONSTRAINT referrals_referred_id_fkey ON referrals IS E'@inverse referral\n@through referred';
