-- Orders in two ways, side by side. This file also runs unchanged on a single PostgreSQL: the tags are comments.

CREATE TABLE customers (
    id bigint PRIMARY KEY,
    email text NOT NULL UNIQUE
);
COMMENT ON TABLE customers IS E'Whoever orders.\n@shard_by id';

CREATE TABLE products (
    id bigint PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    price numeric(10, 2) NOT NULL
);
COMMENT ON TABLE products IS E'What is sold now, and for how much.\n@shard_by id';

-- Over-normalised: an order only refers. It lives by an id of its own, and all that one wants to know is elsewhere.
CREATE TABLE bare_orders (
    id bigint PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers
);
CREATE INDEX ON bare_orders (customer_id);
COMMENT ON TABLE bare_orders IS E'@shard_by id';

CREATE TABLE bare_items (
    order_id bigint NOT NULL REFERENCES bare_orders ON DELETE CASCADE,
    line integer NOT NULL,
    product_id bigint NOT NULL REFERENCES products,
    quantity integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_id, line)
);
CREATE INDEX ON bare_items (product_id);
COMMENT ON TABLE bare_items IS E'@shard_with order_id';
COMMENT ON CONSTRAINT bare_items_order_id_fkey ON bare_items IS '@inverse items';

-- Denormalised: an order lives with its customer, and its lines say what was bought and for how much, then. Whether
-- the product is still sold is another question: a foreign key answers it.
CREATE TABLE orders (
    customer_id bigint NOT NULL REFERENCES customers,
    number bigint NOT NULL,
    PRIMARY KEY (customer_id, number)
);
COMMENT ON TABLE orders IS E'@shard_with customer_id';

CREATE TABLE items (
    customer_id bigint NOT NULL,
    order_number bigint NOT NULL,
    line integer NOT NULL,
    product_id bigint REFERENCES products ON DELETE SET NULL,
    product_name text NOT NULL,
    unit_price numeric(10, 2) NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    amount numeric(12, 2) GENERATED ALWAYS AS (unit_price * quantity) STORED,
    PRIMARY KEY (customer_id, order_number, line),
    FOREIGN KEY (customer_id, order_number) REFERENCES orders ON DELETE CASCADE
);
CREATE INDEX ON items (product_id);
COMMENT ON TABLE items IS E'@shard_by customer_id';
