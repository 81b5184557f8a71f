package pubsub

import "fmt"

// Check reports what Publish would refuse before sending anything, for a
// message that is to be published later.
func (c *Client) Check(topic string, m Message) error {
	name, err := c.fullName("topics", topic)
	if err == nil {
		err = m.validate(name)
	}
	if err != nil {
		return fmt.Errorf("pubsub: the message cannot be published: %w", err)
	}
	return nil
}
