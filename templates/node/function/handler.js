'use strict'

// What is returned is the body; an object goes out as JSON. For a status and headers of its own:
// return context.status(201).headers({ Location: '/1' }).succeed({ made: 1 })
module.exports = async (event, context) => {
  const name = event.body && event.body.name ? event.body.name : 'world'
  return { hello: name }
}
