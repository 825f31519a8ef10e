// Shows what is pushed while no page is open.
self.addEventListener('push', (event) => {
  const message = event.data?.json();
  const shown = self.registration.showNotification('New message', { body: message ?? 'Open the page to read it.' });
  event.waitUntil(shown);
});

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  event.waitUntil(self.clients.openWindow('/'));
});
