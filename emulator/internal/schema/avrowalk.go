package schema

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var (
	errShort = errors.New("Too little data to parse for schema.")
	errDeep  = fmt.Errorf("the message is nested more than %d deep", maxMessageDepth)
	errMuch  = errors.New("the message has too many values")
)

// walk goes through a binary message of the given type without keeping anything, and fails where
// decoding it would need more memory, depth or time than its length warrants.
func walk(root *avroNode, data []byte) error {
	w := walker{data: data, steps: maxSteps + len(data)}
	return w.value(root, maxMessageDepth)
}

type walker struct {
	data  []byte
	steps int
}

func (w *walker) value(n *avroNode, depth int) error {
	if w.steps--; w.steps < 0 {
		return errMuch
	}
	if depth == 0 {
		return errDeep
	}
	if int64(len(w.data)) < n.least {
		return errShort
	}
	switch n.kind {
	case avroNull:
		return nil
	case avroBoolean:
		return w.skip(1)
	case avroFloat:
		return w.skip(4)
	case avroDouble:
		return w.skip(8)
	case avroFixed:
		return w.skip(n.size)
	case avroInt, avroLong, avroEnum:
		_, err := w.long()
		return err
	case avroBytes, avroString:
		return w.text()
	case avroRecord:
		for i := range n.fields {
			if err := w.value(n.fields[i].node, depth-1); err != nil {
				return err
			}
		}
		return nil
	case avroUnion:
		i, err := w.long()
		if err == nil && (i < 0 || i >= int64(len(n.branches))) {
			err = fmt.Errorf("a union has no branch %d", i)
		}
		if err != nil {
			return err
		}
		return w.value(n.branches[i], depth-1)
	case avroArray:
		return w.blocks(func() error { return w.value(n.items, depth-1) })
	case avroMap:
		return w.blocks(func() error {
			if err := w.text(); err != nil {
				return err
			}
			return w.value(n.items, depth-1)
		})
	}
	return nil
}

// blocks reads the blocks of an array or a map up to the empty one that ends it. A block cannot
// hold more items than there are bytes left, unless the items take none: that is a bound of ours.
func (w *walker) blocks(item func() error) error {
	for {
		count, err := w.long()
		if err != nil || count == 0 {
			return err
		}
		if count < 0 { // the block's size follows
			count = -count
			if _, err := w.long(); err != nil {
				return err
			}
		}
		if count < 0 || count > int64(len(w.data)) {
			return errShort
		}
		for range count {
			if err := item(); err != nil {
				return err
			}
		}
	}
}

func (w *walker) text() error {
	size, err := w.long()
	if err != nil {
		return err
	}
	return w.skip(size)
}

func (w *walker) skip(n int64) error {
	if n < 0 || n > int64(len(w.data)) {
		return errShort
	}
	w.data = w.data[n:]
	return nil
}

func (w *walker) long() (int64, error) {
	v, n := binary.Varint(w.data)
	if n <= 0 {
		return 0, errShort
	}
	w.data = w.data[n:]
	return v, nil
}
